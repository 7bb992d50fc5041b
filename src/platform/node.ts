/** Accesses built-in modules of Node without `import`, which bundlers for pages would follow. */

/** Returns a built-in module, such as `node:fs/promises`. Needs Node 20.16; undefined in a page. */
export function nodeModule(name: string): unknown {
  const { process } = globalThis as { process?: { getBuiltinModule(name: string): unknown } };
  return process?.getBuiltinModule(name);
}

/**
 * Whether the library treats strings as file paths. True in Node, unless a global `document` or `location`
 * makes strings relative URLs.
 */
export function hasPaths(): boolean {
  const { process, document, location } = globalThis as {
    process?: { versions?: { node?: string } };
    document?: unknown;
    location?: unknown;
  };
  return process?.versions?.node !== undefined && document === undefined && location === undefined;
}
