/** What Node has built in, without an `import` of it, which bundlers for pages would try to follow. */

/** @param name `node:fs/promises`, … Only to be called where there is a Node: 20.16 or later. */
export function nodeModule(name: string): unknown {
  const { process } = globalThis as { process?: { getBuiltinModule(name: string): unknown } };
  return process?.getBuiltinModule(name);
}

/** Whether strings mean paths of this machine: in Node, where there is no page to count URLs from. */
export function hasPaths(): boolean {
  const { process, document, location } = globalThis as {
    process?: { versions?: { node?: string } };
    document?: unknown;
    location?: unknown;
  };
  return process?.versions?.node !== undefined && document === undefined && location === undefined;
}
