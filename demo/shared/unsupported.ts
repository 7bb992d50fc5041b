/** What a visitor sees if the browser cannot run a model: the reason, and recorded pictures of the page. */
import type { Support } from '../../src/index.js';
import { byId, setText } from './dom.js';

/**
 * Shows the section `#unsupported`, which contains the text of shared/unsupported.html and the recorded
 * pictures of the page, and hides the elements that need a model (`[data-needs-model]`).
 */
export function showUnsupported({ reason, code }: Support): void {
  // What to do in Node is of no use to a visitor.
  setText('unsupported-reason', (reason ?? '').replace(/ In Node, [^.]*\.$/, ''));
  setText('unsupported-code', code ?? '');
  byId('unsupported', HTMLElement).hidden = false;
  byId('model-open', HTMLButtonElement).disabled = true; // there is no model to choose
  for (const element of document.querySelectorAll<HTMLElement>('[data-needs-model]')) element.hidden = true;
}
