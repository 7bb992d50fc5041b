// Starts Firefox through WebDriver BiDi and opens the page with the test actions (page.ts).
import type { Browser, Page } from 'puppeteer-core';
import { createServer } from 'vite';
import { launchFirefox } from './launch.ts';
import type {} from './page.ts';

/** A new page, whose messages on the console are printed. */
export async function newPage(browser: Browser): Promise<Page> {
  const page = await browser.newPage();
  page.on('console', (message) => console.log(`Firefox: ${message.text()}`));
  return page;
}

export interface Firefox {
  readonly page: Page;
  /** The address of the server, which serves the repository. */
  readonly origin: string;
  readonly version: string;
  readonly close: () => Promise<void>;
}

/** @param path the page to open. Default: the page with the test actions */
export async function openFirefox(path = '/test/firefox/page.html'): Promise<Firefox> {
  const server = await createServer({
    configFile: 'vite.config.ts',
    server: { port: 0, host: '127.0.0.1', hmr: false, watch: null },
    logLevel: 'warn',
  });
  await server.listen();
  const browser = await launchFirefox();
  const page = await newPage(browser);
  const origin = server.resolvedUrls!.local[0]!;
  await page.goto(new URL(path, origin).href);
  if (path.startsWith('/test/')) await page.waitForFunction(() => 'actions' in globalThis);
  const close = async (): Promise<void> => {
    await browser.close();
    await server.close();
  };
  return { page, origin, version: await browser.version(), close };
}
