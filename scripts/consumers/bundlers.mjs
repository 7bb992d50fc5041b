// Builds the projects of test/consumers with the packed library, and runs their pages in Chromium.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { copyProject, installTarball, root, runNpm, startServer } from './package.mjs';
import { bytesOf, resultsOf, serveFolder } from './site.mjs';

const folder = join(root, 'test/consumers');

/**
 * The projects. `serve`: the folder with the page after the build. `scripts`: the folder with the built
 * scripts. `dev`, `start`: npm scripts of a development server, and of a server for the built page.
 */
export const PROJECTS = {
  vite8: { serve: 'dist', scripts: 'dist', dev: true },
  vite7: { serve: 'dist', scripts: 'dist', dev: true },
  vite6: { serve: 'dist', scripts: 'dist', dev: true },
  vite5: { serve: 'dist', scripts: 'dist', dev: true },
  webpack5: { serve: '.', scripts: 'dist' },
  rollup: { serve: '.', scripts: 'dist' },
  esbuild: { serve: '.', scripts: 'dist' },
  // Its scripts include the copied files of the library.
  parcel: { serve: 'dist', scripts: 'dist' },
  next: { start: true, scripts: '.next/static' },
  'import-map': { serve: '.' },
  // A page that requires Trusted Types, with the policy of SECURITY.md.
  'trusted-types': { serve: 'dist', scripts: 'dist' },
  cdn: { serve: '.', otherOrigin: true },
};

/** Headers of the project `trusted-types`. */
const STRICT = {
  'content-security-policy':
    "default-src 'self'; connect-src 'self' https://huggingface.co; require-trusted-types-for 'script'; trusted-types default",
};

/**
 * Copies a project into an empty folder, installs it, builds it and runs its page.
 * @returns `{ build, page, worker, devPage, devWorker, bytes, gzipBytes }`: `ok` or an error for each step;
 *   undefined for a step that the project does not have. Bytes of all built scripts.
 */
export async function tryProject(name, { tarball, browser, into }) {
  const { serve, scripts, dev, start, otherOrigin } = PROJECTS[name];
  const project = join(into, name);
  const result = {};
  try {
    copyProject(join(folder, name), project, join(folder, 'app'));
    installTarball(tarball, project);
    if (scripts !== undefined) {
      runNpm(['run', 'build'], project);
      Object.assign(result, bytesOf(join(project, scripts)));
    }
    result.build = 'ok';
  } catch (error) {
    return { ...result, build: error.message };
  }
  const servers = [];
  const opened = async (server) => {
    servers.push(server);
    return server.url;
  };
  try {
    let cdn;
    if (otherOrigin) {
      const headers = { 'access-control-allow-origin': '*' };
      cdn = await opened(await serveFolder(join(project, 'node_modules/dinov2-webgpu'), { headers }));
    }
    const url = await opened(
      start
        ? await startServer(['start', '--', '--port', '0'], project)
        : await serveFolder(join(project, serve), {
            headers: name === 'trusted-types' ? STRICT : {},
            replace: cdn && ['CDN', cdn],
          }),
    );
    Object.assign(result, await resultsOf(browser, `${url}/`));
    if (dev) {
      const inDev = await resultsOf(browser, await opened(await startServer(['dev'], project)));
      Object.assign(result, { devPage: inDev.page, devWorker: inDev.worker });
    }
  } finally {
    for (const server of servers) (server.stop ?? server.close)();
    rmSync(project, { recursive: true, force: true });
  }
  return result;
}
