// The base of relative URLs in a page, in a worker and in Node.
import { afterEach, expect, test, vi } from 'vitest';
import { resolveUrl } from '../../src/io/url.ts';
import { baseUrl, setBaseUrl } from '../../src/platform/baseUrl.ts';

afterEach(() => {
  setBaseUrl(undefined);
  vi.unstubAllGlobals();
});

test('the base URL is the one that was set, else the page, else the script of the worker', () => {
  expect(baseUrl()).toBeUndefined();
  vi.stubGlobal('location', { href: 'https://example.org/worker.js' });
  expect(resolveUrl('weights/').href).toBe('https://example.org/weights/');
  vi.stubGlobal('document', { baseURI: 'https://example.org/page/' });
  expect(resolveUrl('weights/').href).toBe('https://example.org/page/weights/');
  setBaseUrl('https://example.org/set/');
  expect(resolveUrl('weights/').href).toBe('https://example.org/set/weights/');
});
