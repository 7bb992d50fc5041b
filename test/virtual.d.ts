declare module 'virtual:adapters-folder' {
  /**
   * Folder in which a browser test writes its adapter's name for the summary; empty if not run by
   * scripts/test.mjs.
   */
  const folder: string;
  export default folder;
}
