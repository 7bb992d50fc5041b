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

/** Returns a name of the GPU adapter for the page. */
export function adapterName({ vendor, architecture, description, software }: AdapterDescription): string {
  const name =
    description || [vendor, architecture].filter((part) => part !== '').join(' ') || 'an unnamed GPU';
  return software ? `${name}, which emulates a GPU on the processor` : name;
}
