// Measures the time from `npm install` to the first picture, as a new user would take it: an empty folder, the
// packed library, Vite 8, and a page that shows a photograph's patches as colours in Chromium.
//
//   node scripts/first-picture.mjs [--size SIZE]     small (default), base, large or giant
//
// Needs the network for Vite. The weights are computed by formula and served by this machine, so the time
// of a download of trained weights (88 MB for small) is not included. PACKED_TARBALL: a tarball made before.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { pack, root, run, runNpm, startServer } from './consumers/package.mjs';
import { serveFolder, startBrowser } from './consumers/site.mjs';

const { size } = parseArgs({ options: { size: { type: 'string', default: 'small' } } }).values;

const page = (checkpoint) => `<!doctype html>
<meta charset="utf-8" />
<input type="file" accept="image/*" />
<canvas></canvas>
<p id="status"></p>
<script type="module">
  import { DINOv2, PCA } from 'dinov2-webgpu';

  const say = (text) => (document.querySelector('#status').textContent = text);
  for (const kind of ['error', 'unhandledrejection'])
    addEventListener(kind, ({ error, reason }) => say((error ?? reason).message));
  const model = await DINOv2.fromPretrained('${checkpoint}');
  say('ready');
  document.querySelector('input').onchange = async ({ target }) => {
    const features = await model.features(target.files[0], { resize: 'fit', longestSide: 518 });
    await (await PCA.fit(features)).draw(features, document.querySelector('canvas'));
    say('picture');
  };
</script>
`;

const begin = mkdtempSync(join(tmpdir(), 'first-picture-'));
const [weights, project] = [join(begin, 'weights'), join(begin, 'project')];
const tarball = process.env.PACKED_TARBALL ?? pack(begin);
run(process.execPath, [join(root, 'bin/dinov2-webgpu.mjs'), 'synthetic', size, weights], root);
const hub = await serveFolder(weights, { headers: { 'access-control-allow-origin': '*' } });
const browser = await startBrowser(begin);
let server;
try {
  let last = performance.now();
  const total = last;
  const step = (name, from = last) => {
    last = performance.now();
    console.log(`${name.padEnd(42)}${((last - from) / 1000).toFixed(1).padStart(7)} s`);
  };
  mkdirSync(project);
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ scripts: { dev: 'vite --host 127.0.0.1 --port 0' } }),
  );
  writeFileSync(join(project, 'index.html'), page(hub.url));
  runNpm(['install', '--no-audit', '--no-fund', tarball, 'vite@8'], project);
  step('npm install dinov2-webgpu vite');
  server = await startServer(['dev'], project);
  step('npx vite is ready');
  const tab = await browser.newPage();
  await tab.goto(server.url);
  const says = async (text, before) => {
    const found = await tab.waitForFunction(
      (last) => {
        const now = document.querySelector('#status')?.textContent;
        return now !== last && now;
      },
      before,
      { timeout: 300_000 },
    );
    if ((await found.jsonValue()) !== text) throw new Error(`the page says: ${await found.jsonValue()}`);
  };
  await says('ready', '');
  step(`the page has loaded the model (${size})`);
  await tab.locator('input').setInputFiles(join(root, 'demo/photos/coffee.png'));
  await says('picture', 'ready');
  step('the first picture, 24 × 37 patches');
  step('from npm install to the first picture', total);
} finally {
  server?.stop();
  hub.close();
  await browser.close();
  rmSync(begin, { recursive: true, force: true });
}
