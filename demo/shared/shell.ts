/**
 * Starts what all pages have in common: trusted scripts, messages, the theme, offline use.
 *
 * A page has `<!--shell:head-->` first in its head, and `<!--shell:header-->`, `<!--shell:model-->` and
 * `<!--shell:footer-->` in its body; the plugin of scripts/vite/shell.ts inserts these parts. Its script calls
 * `startShell`, makes a `ModelState`, passes it to `startModelLine` and calls its `start`. If the browser has no
 * WebGPU, it calls `showUnsupported`, for which the page has a section `#unsupported` with
 * `<!--shell:unsupported-->` and recorded pictures.
 */
import { startOffline, trustOwnScripts } from './offline.js';
import { startTheme } from './theme.js';
import { startToasts } from './toasts.js';

/**
 * Starts the common parts of a page. Call this before anything else.
 * @param root the path from the page to the folder of the front page: `./` or `../`
 */
export function startShell(root: './' | '../'): void {
  trustOwnScripts();
  startToasts();
  startTheme();
  void startOffline(root);
}
