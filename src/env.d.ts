/// <reference types="vite-plugin-glsl/ext" />
