// Serves the benchmarks' pages and opens a page in a browser.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { chromium } from 'playwright';
import { createServer } from 'vite';
import { chromiumArgs, chromiumPath } from '../scripts/software-gpu.mjs';
import { plainShaders, webAssembly } from '../scripts/text-plugins.mjs';
import { root } from './load-source.mjs';

/**
 * Opens a page of this repository in Chromium.
 * @param path the page's path from the repository's root
 * @param gpu `swiftshader`: Chromium's software adapter; `any`: the machine's GPU
 * @returns the page, its URL, and a function that closes the browser and the server
 */
export async function openPage(path, gpu) {
  const server = await createServer({
    root,
    configFile: false,
    plugins: [plainShaders, webAssembly],
    optimizeDeps: { noDiscovery: true },
    appType: 'mpa',
    server: { host: '127.0.0.1', watch: null, hmr: false },
    logLevel: 'error',
  });
  await server.listen();
  const args =
    gpu === 'swiftshader'
      ? chromiumArgs
      : ['--no-sandbox', '--enable-unsafe-webgpu', '--enable-features=Vulkan'];
  const executablePath = await chromiumPath();
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  const browser = await chromium.launch({
    executablePath,
    args,
    env: { ...process.env, FONTCONFIG_FILE: fonts(folder, executablePath) },
  });
  const page = await browser.newPage();
  page.on('pageerror', (error) => process.stderr.write(`page: ${error.stack}\n`));
  page.on(
    'console',
    (message) => message.type() === 'error' && process.stderr.write(`page: ${message.text()}\n`),
  );
  const url = new URL(path, server.resolvedUrls.local[0]).href;
  await page.goto(url, { timeout: 120_000 });
  return {
    page,
    url,
    async close() {
      await browser.close();
      await server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A fontconfig file with Chromium's own fonts. Packaged Chromium exits if the system has no fonts. */
function fonts(folder, executablePath) {
  const file = join(folder, 'fonts.conf');
  const folders = ['/usr/share/fonts', join(dirname(executablePath), 'fonts')]
    .map((each) => `<dir>${each}</dir>`)
    .join('');
  writeFileSync(
    file,
    `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>${folders}<cachedir>${join(folder, 'cache')}</cachedir></fontconfig>`,
  );
  return file;
}
