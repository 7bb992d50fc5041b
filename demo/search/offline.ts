/**
 * Offline use of the page: registers the service worker, which caches the files of the page. The library
 * itself caches the weights.
 */
import { byId } from '../dom.js';
import { showNotice } from '../notices.js';

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): unknown;
}

/**
 * Sets a Trusted Types policy that allows only script URLs of this page's own origin: those of the service
 * worker and of the library's worker.
 */
export function trustOwnScripts(): void {
  const { trustedTypes } = globalThis as { trustedTypes?: TrustedTypes };
  trustedTypes?.createPolicy('default', {
    createScriptURL(url) {
      const { origin, pathname } = new URL(url, document.baseURI);
      if (origin === location.origin && /\.(js|ts)$/.test(pathname)) return url;
      throw new TypeError(`${url} is not a script of this page.`);
    },
  });
}

/**
 * Registers the service worker, but only in the built page: the files of the development server change, so
 * they must not be cached.
 */
export async function startOffline(): Promise<void> {
  if (import.meta.env.MODE !== 'demo' || !('serviceWorker' in navigator)) return;
  try {
    const registration = await navigator.serviceWorker.register('../sw.js', {
      scope: '../',
      updateViaCache: 'none',
    });
    const offer = (worker: ServiceWorker | null): void => {
      if (!worker || !navigator.serviceWorker.controller) return; // first installation: this page is not an older version
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
    // The registration fails if the browser allows this page no storage. The page then works only with a
    // network.
    if (!(error instanceof DOMException)) showNotice('page', error);
  }
}
