/**
 * With the network off: the service worker keeps this page's own files. Weights are kept by the library,
 * photographs by nobody.
 */
import { byId } from '../dom.js';
import { showNotice } from '../notices.js';

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): unknown;
}

/**
 * The page's policy trusts scripts of its own address and nothing else: the service worker, and the worker
 * that the library brings.
 */
export function trustOwnScripts(): void {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  trustedTypes?.createPolicy('default', {
    createScriptURL(url) {
      const { origin, pathname } = new URL(url, document.baseURI);
      if (origin === location.origin && /\.(js|ts)$/.test(pathname)) return url;
      throw new TypeError(`${url} is no script of this page.`);
    },
  });
}

/** Only what is built has a service worker: the development server's files change all the time. */
export async function startOffline(): Promise<void> {
  if (import.meta.env.MODE !== 'demo' || !('serviceWorker' in navigator)) return;
  try {
    const registration = await navigator.serviceWorker.register('../sw.js', {
      scope: '../',
      updateViaCache: 'none',
    });
    const offer = (worker: ServiceWorker | null): void => {
      if (!worker || !navigator.serviceWorker.controller) return; // the first one: nothing older is on the screen
      byId('fresh', HTMLElement).hidden = false;
      byId('fresh-load', HTMLButtonElement).onclick = () => worker.postMessage('take over');
    };
    offer(registration.waiting);
    registration.addEventListener('updatefound', () => {
      const worker = registration.installing;
      worker?.addEventListener('statechange', () => void (worker.state === 'installed' && offer(worker)));
    });
    const controlled = navigator.serviceWorker.controller !== null;
    navigator.serviceWorker.addEventListener(
      'controllerchange',
      () => void (controlled && location.reload()),
    );
  } catch (error) {
    // A browser that keeps nothing for this page refuses; the page works while there is a network.
    if (!(error instanceof DOMException)) showNotice('page', error);
  }
}
