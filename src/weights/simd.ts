/**
 * Instantiates simd.wat if WebAssembly is available. A page can forbid WebAssembly (Content-Security-Policy
 * without 'wasm-unsafe-eval'), and old engines lack its SIMD instructions.
 */
import code from './simd.wat';

/** One instance of simd.wat, and its memory. All addresses are byte addresses. */
export interface Simd {
  readonly memory: WebAssembly.Memory;
  turn(from: number, to: number, columns: number, rows: number, begin: number, end: number): number;
  to_f16(at: number, count: number): void;
  largest(at: number, count: number, out: number): void;
  to_int8(at: number, count: number, divisors: number): void;
}

let compiled: WebAssembly.Module | null | undefined;

/**
 * Creates an instance with its own memory of one page. Returns undefined if WebAssembly is not available:
 * JavaScript then computes the same results, several times slower.
 */
export function createSimd(): Simd | undefined {
  try {
    compiled ??=
      compiled === null
        ? null
        : new WebAssembly.Module(Uint8Array.from(atob(code), (char) => char.charCodeAt(0)));
    return compiled ? (new WebAssembly.Instance(compiled).exports as WebAssembly.Exports & Simd) : undefined;
  } catch {
    compiled = null; // tried only once: on a page that forbids WebAssembly, every attempt logs a console message
    return undefined;
  }
}
