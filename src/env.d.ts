/// <reference types="vite-plugin-glsl/ext" />

/** A module of WebAssembly, in Base64. */
declare module '*.wat' {
  const code: string;
  export default code;
}
