/**
 * simd.wat, where WebAssembly may run: a page can forbid it (Content-Security-Policy without
 * 'wasm-unsafe-eval'), and old engines lack its SIMD.
 */
import code from './simd.wat';

/** One instance and its memory. Addresses are bytes. */
export interface Simd {
  readonly memory: WebAssembly.Memory;
  turn(from: number, to: number, columns: number, rows: number, begin: number, end: number): number;
  to_f16(at: number, count: number): void;
  largest(at: number, count: number, out: number): void;
  to_int8(at: number, count: number, divisors: number): void;
}

let compiled: WebAssembly.Module | null | undefined;

/**
 * With a memory of its own, of one page. Undefined where it may not run: then JavaScript does the same,
 * several times as slowly.
 */
export function createSimd(): Simd | undefined {
  try {
    compiled ??=
      compiled === null
        ? null
        : new WebAssembly.Module(Uint8Array.from(atob(code), (char) => char.charCodeAt(0)));
    return compiled ? (new WebAssembly.Instance(compiled).exports as WebAssembly.Exports & Simd) : undefined;
  } catch {
    compiled = null; // asked for once: a page that forbids it has a notice in its console each time
    return undefined;
  }
}
