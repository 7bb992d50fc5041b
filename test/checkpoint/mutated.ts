/** Mutated safetensors files, the same for the same seed. */
import { readFileSync } from 'node:fs';

/** A seeded generator of integers in [0, n). */
export function random(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0; // mulberry32
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

/** Yields copies without end of the malformed files, with one to four edits each. */
export function* mutatedSafetensors(seed: number): Generator<Uint8Array<ArrayBuffer>, never> {
  const cases = JSON.parse(
    readFileSync(new URL('../fixtures/malformed/safetensors-cases.json', import.meta.url), 'utf8'),
  ) as {
    base64: string;
  }[];
  const seeds = cases
    .map(({ base64 }) => new Uint8Array(Buffer.from(base64, 'base64')))
    .filter(({ length }) => length > 8);
  const next = random(seed);
  for (;;) {
    let bytes = seeds[next(seeds.length)]!.slice();
    for (let edits = 1 + next(4); edits > 0; edits--) {
      const at = next(bytes.length);
      switch (next(6)) {
        case 0:
          bytes[at]! ^= 1 << next(8);
          break;
        case 1:
          bytes[at] = next(256);
          break;
        case 2:
          bytes[at] = '{}[]",:0129-.eE\\u \n\0'.charCodeAt(next(20));
          break;
        case 3: // truncate
          bytes = bytes.slice(0, 1 + at);
          break;
        case 4: // cases 4 and 5 replace some bytes with others, and fix the length of the header half of the time
        case 5: {
          // the inserted bytes come from another file
          const other = seeds[next(seeds.length)]!;
          const from = next(other.length);
          const insert = other.subarray(from, from + next(16));
          const where = Math.min(bytes.length, 8 + next(bytes.length));
          const dropped = next(2) * next(16);
          const rest = bytes.subarray(Math.min(bytes.length, where + dropped));
          const longer = new Uint8Array(where + insert.length + rest.length);
          longer.set(bytes.subarray(0, where));
          longer.set(insert, where);
          longer.set(rest, where + insert.length);
          if (next(2) === 0) {
            const delta = longer.length - bytes.length;
            longer[0] = Math.max(0, Math.min(255, longer[0]! + delta));
          }
          bytes = longer;
          break;
        }
      }
    }
    yield bytes;
  }
}

/** The files whose verdicts by the Rust reader test/fixtures/mutated/safetensors.json holds. */
export const ORACLE: { readonly seed: number; readonly files: number } = { seed: 1995, files: 20_000 };
