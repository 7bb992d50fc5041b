/** What Node has built in, without an `import` of it, which bundlers for pages would try to follow. */

/** @param name `node:fs/promises`, … Only to be called where there is a Node: 20.16 or later. */
export function nodeModule(name: string): unknown {
  const { process } = globalThis as { process?: { getBuiltinModule(name: string): unknown } };
  return process?.getBuiltinModule(name);
}
