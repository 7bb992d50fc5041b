/** Formats numbers for the texts of the page. */
import type { AdapterDescription } from '../../src/index.js';

export function megabytes(bytes: number): string {
  if (bytes < 1e6) return `${Math.round(bytes / 1e3)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

export function duration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

export function millions(count: number): string {
  return count < 1e6 ? `${Math.round(count / 1e3)} thousand` : `${(count / 1e6).toFixed(1)} M`;
}

/** Characters of a name that the page shows. */
const MOST_CHARACTERS = 40;

/**
 * Returns the name of a file for a sentence. A long name loses its middle, so that the sentence keeps its
 * length. A name with text from right to left, or with marks of direction, is isolated (by the characters FSI and
 * PDI), so that the rest of the sentence keeps its order.
 */
export function shortName(name: string): string {
  const characters = Array.from(name);
  const half = (MOST_CHARACTERS - 1) >> 1;
  const short =
    characters.length <= MOST_CHARACTERS
      ? name
      : `${characters.slice(0, half).join('').trimEnd()}…${characters.slice(-half).join('').trimStart()}`;
  return /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff]/.test(name)
    ? `\u2068${short.replace(/[\u202a-\u202e\u2066-\u2069]/g, '')}\u2069`
    : short;
}

/** Returns a name of the GPU adapter for the page. */
export function adapterName({ vendor, architecture, description, software }: AdapterDescription): string {
  const name =
    description || [vendor, architecture].filter((part) => part !== '').join(' ') || 'an unnamed GPU';
  return software ? `${name}, which emulates a GPU on the processor` : name;
}
