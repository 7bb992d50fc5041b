/**
 * Returns `caches` or `indexedDB`; undefined if it is missing or forbidden. Reading a forbidden one throws:
 * in a sandboxed frame, or with all cookies blocked.
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
