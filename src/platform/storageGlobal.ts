/** What a page has for storage. Where a page may not store, reading such a global throws. */

/**
 * `caches` or `indexedDB`. Undefined where it is missing, and where the page may not have it: in a sandboxed frame, or
 * with all cookies blocked.
 */
export function storageGlobal<Name extends 'caches' | 'indexedDB'>(
  name: Name,
): (typeof globalThis)[Name] | undefined {
  try {
    return (globalThis as Partial<typeof globalThis>)[name];
  } catch {
    return undefined;
  }
}
