/** The built modules of the command line and the library. */
const orBuild = (cause) => {
  if (cause?.code === 'ERR_MODULE_NOT_FOUND' && cause.message.includes('/dist/'))
    throw new Error('dist/ is missing: run `npm run build` first.', { cause });
  throw cause;
};

export const tools = await import('../dist/tools.js').catch(orBuild);
/** Loads the library. Loads neither webgpu nor sharp. */
export const library = () => import('../dist/node.js').catch(orBuild);
