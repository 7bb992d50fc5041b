/**
 * Offline use of the pages: registers the service worker, which caches the files of all pages. The library
 * itself caches the weights.
 */
import { showError, showMessage } from './toasts.js';

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
 * Registers the service worker, but only in the built pages: the files of the development server change, so
 * they must not be cached.
 * @param root the path from the page to the folder of the front page: `./` or `../`
 */
export async function startOffline(root: string): Promise<void> {
  if (import.meta.env.MODE !== 'demo' || !('serviceWorker' in navigator)) return;
  try {
    const registration = await navigator.serviceWorker.register(`${root}sw.js`, {
      scope: root,
      updateViaCache: 'none',
    });
    document.getElementById('works-offline')?.removeAttribute('hidden');
    const offer = (worker: ServiceWorker | null): void => {
      // Without a controller this is the first installation, so this page is not an older version.
      if (!worker || !navigator.serviceWorker.controller) return;
      showMessage('version', 'A new version of this page is available.', 'Loading it reloads the page.', {
        text: 'Load it',
        run: () => worker.postMessage('take over'),
      });
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
    if (!(error instanceof DOMException))
      showError('page', 'The page could not be stored for offline use.', error);
  }
}
