// Builds the documentation as a static site in dist-docs/, or serves it. Any warning is an error.
//   node site/build.mjs            builds, and checks every link of the result
//   node site/build.mjs --serve    serves, and rebuilds a page when its file changes
// DOCS_BASE is the path of the site on its server, such as /dinov2-webgpu/docs/. Default: /
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { checkLinks } from './links.mjs';
import { install, site } from './install.mjs';

/** Runs a program of the site's packages. Throws if it fails or prints a warning. */
async function run(program, ...args) {
  const child = spawn(process.execPath, [join(site, 'node_modules', program), ...args], {
    cwd: site,
    env: { ...process.env, FORCE_COLOR: '0', NO_COLOR: '1' },
  });
  let text = '';
  for (const stream of ['stdout', 'stderr'])
    child[stream].on('data', (data) => {
      text += data;
      process[stream].write(data);
    });
  const status = await new Promise((resolve) => child.on('close', resolve));
  if (status !== 0) throw new Error(`${program} ended with status ${status}.`);
  const warnings = text.split('\n').filter((line) => /\bwarn(ing)?\b|\(!\)/i.test(line));
  if (warnings.length > 0) throw new Error(`${program} warned:\n${warnings.join('\n')}`);
}

install();
rmSync(join(site, '..', 'docs', 'api'), { recursive: true, force: true });
await run('typedoc/bin/typedoc', '--logLevel', 'Warn');
if (process.argv.includes('--serve')) await run('vitepress/bin/vitepress.js', 'dev', '--host', '127.0.0.1');
else {
  await run('vitepress/bin/vitepress.js', 'build');
  const { pages, links } = checkLinks(join(site, '..', 'dist-docs'), process.env.DOCS_BASE ?? '/');
  console.log(`${pages} pages, ${links} links, none dead`);
}
