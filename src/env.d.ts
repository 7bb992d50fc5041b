/// <reference types="vite-plugin-glsl/ext" />

/** A WebAssembly module, encoded as Base64. */
declare module '*.wat' {
  const code: string;
  export default code;
}
