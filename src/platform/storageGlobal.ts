/**
 * Returns the global `caches` or `indexedDB`; undefined if the global is missing or forbidden. Reading a
 * forbidden global throws, as in a sandboxed frame or if the user blocks all cookies.
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
