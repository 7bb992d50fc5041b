/**
 * One Chromium for all files that need no profile on disk: each has contexts of its own, with storage of their
 * own. A file that closes, kills or starves its browser starts one (test/loading/browser.ts).
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { chromium, type Browser } from 'playwright';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { chromiumArgs } from '../scripts/software-gpu.mjs';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the Chromium of this run answers: for the demo's project. */
    readonly chromium: string;
  }
}

/** Vitest's, before the first file of the project; what it gives is called after the last. */
export async function setup({ provide, config }: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), 'chromium-'));
  const executablePath = String(config.env['CHROMIUM_PATH']);
  const server = await chromium.launchServer({
    executablePath,
    args: chromiumArgs,
    env: { ...(process.env as Record<string, string>), FONTCONFIG_FILE: fonts(folder, executablePath) },
  });
  provide('chromium', server.wsEndpoint());
  return async () => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  };
}

/** The Chromium of this run. To close it closes the caller's contexts alone. */
export const openChromium = (): Promise<Browser> => chromium.connect(inject('chromium'));

/**
 * A Chromium that came as a package finds no fonts on its own, draws no text then, and cannot be measured. It
 * carries some with it.
 */
function fonts(folder: string, executablePath: string): string {
  const file = join(folder, 'fonts.conf');
  const folders = ['/usr/share/fonts', join(dirname(executablePath), 'fonts')]
    .map((each) => `<dir>${each}</dir>`)
    .join('');
  const cache = join(folder, 'fonts');
  mkdirSync(cache);
  writeFileSync(
    file,
    `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>${folders}<cachedir>${cache}</cachedir></fontconfig>`,
  );
  return file;
}
