/** Starts Firefox through WebDriver BiDi. */
import { existsSync } from 'node:fs';
import puppeteer, { type Browser } from 'puppeteer-core';

const executablePath =
  process.env['FIREFOX_PATH'] ??
  ['/usr/bin/firefox-esr', '/usr/bin/firefox'].find((path) => existsSync(path));
const icd = process.env['TEST_ADAPTER'];

/** Starts Firefox with a new profile. */
export function launchFirefox(preferences: Record<string, unknown> = {}): Promise<Browser> {
  if (!executablePath) throw new Error('No Firefox: set FIREFOX_PATH. These tests fail without Firefox.');
  return puppeteer.launch({
    browser: 'firefox',
    executablePath,
    headless: true,
    extraPrefsFirefox: {
      'dom.webgpu.enabled': true,
      'gfx.webgpu.ignore-blocklist': true,
      ...preferences,
    },
    env: { ...process.env, ...(icd && icd !== 'any' ? { VK_ICD_FILENAMES: icd, VK_DRIVER_FILES: icd } : {}) },
    protocolTimeout: 600_000,
  });
}
