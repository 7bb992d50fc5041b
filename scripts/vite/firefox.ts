/**
 * A browser provider of Vitest that opens its pages in Firefox through WebDriver BiDi. Playwright can only
 * start a Firefox that it has built itself.
 */
import { playwright } from '@vitest/browser-playwright';
import type { Browser, Page } from 'puppeteer-core';
import type { BrowserProvider, BrowserProviderOption } from 'vitest/node';

/** Starts Firefox at the first page. Pages share one profile. */
class FirefoxProvider implements BrowserProvider {
  readonly name = 'firefox';
  readonly supportsParallelism = false;
  readonly initScripts: string[] = [];
  readonly #pages = new Map<string, Page>();
  #browser: Promise<Browser> | undefined;

  getCommandsContext(): Record<string, unknown> {
    return {};
  }

  async openPage(sessionId: string, url: string): Promise<void> {
    const { launchFirefox } = await import('../../test/firefox/launch.ts');
    const browser = await (this.#browser ??= launchFirefox());
    await this.#pages.get(sessionId)?.close();
    const page = await browser.newPage();
    this.#pages.set(sessionId, page);
    await page.goto(url, { timeout: 0 });
  }

  async close(): Promise<void> {
    await (await this.#browser)?.close();
  }
}

/** Vitest's server for pages in a browser, with this provider in place of Playwright's. */
export const firefoxProvider = (): BrowserProviderOption => ({
  ...playwright(),
  name: 'firefox',
  options: {},
  providerFactory: () => new FirefoxProvider(),
});
