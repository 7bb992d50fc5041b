declare module 'virtual:adapters-folder' {
  /** Where a browser test writes the name of its adapter, for the summary; empty outside scripts/test.mjs. */
  const folder: string;
  export default folder;
}
