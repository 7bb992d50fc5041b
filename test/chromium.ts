/**
 * One Chromium shared by all test files that need no profile on disk. Each file opens its own contexts, with
 * separate storage. A test file that closes, kills or starves its browser starts its own
 * (test/loading/browser.ts).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser } from 'playwright';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { chromiumArgs, fontsFile } from '../scripts/software-gpu.mjs';
import { correctEvaluate } from './evaluate.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** WebSocket endpoint of this run's Chromium, for the `demo` project. */
    readonly chromium: string;
  }
}

/**
 * Vitest's global setup, called before the first file of the project. Vitest calls the returned function
 * after the last file.
 */
export async function setup({ provide, config }: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), 'chromium-'));
  const executablePath = String(config.env['CHROMIUM_PATH']);
  const server = await chromium.launchServer({
    executablePath,
    args: chromiumArgs,
    env: { ...(process.env as Record<string, string>), FONTCONFIG_FILE: fontsFile(folder, executablePath) },
  });
  provide('chromium', server.wsEndpoint());
  return async () => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  };
}

/** Connects to this run's Chromium. Closing the returned browser closes only the caller's contexts. */
export async function openChromium(): Promise<Browser> {
  const browser = await chromium.connect(inject('chromium'));
  browser.on('context', correctEvaluate);
  return browser;
}
