/**
 * Shows notices about errors, each with the error's code and buttons for possible actions. A notice stays
 * until the visitor dismisses it or a newer notice on the same topic replaces it.
 */
import { DINOv2Error } from '../src/index.js';
import { button, byId } from './dom.js';

export type Topic =
  | 'model'
  | 'picture'
  | 'features'
  | 'camera'
  | 'adding'
  | 'search'
  | 'collection'
  | 'damaged'
  | 'other'
  | 'page';

export interface Action {
  readonly text: string;
  readonly run: () => void;
}

const titles: Readonly<Record<Topic, string>> = {
  model: 'The model could not be loaded.',
  picture: 'That picture cannot be used.',
  features: 'The features could not be computed.',
  camera: 'The camera cannot be used.',
  adding: 'Photographs could not be added.',
  search: 'The search failed.',
  collection: 'The collection cannot be used.',
  damaged: 'Part of the collection was lost.',
  other: 'The collection was made by another model.',
  page: 'Something went wrong.',
};

/** Removes the notice on a topic. */
export function dismiss(topic: Topic): void {
  document.querySelector(`[data-topic="${topic}"]`)?.remove();
}

export function showNotice(topic: Topic, error: unknown, ...actions: readonly Action[]): void {
  dismiss(topic);
  const { code, message } = describe(error);
  const notice = element('div', '');
  notice.className = 'notice';
  notice.dataset['topic'] = topic;
  const heading = element('p', '');
  heading.append(element('strong', titles[topic]), ' ', element('code', code));
  const buttons = element('div', '');
  buttons.className = 'row';
  for (const { text, run } of actions) {
    buttons.append(
      button(text, () => {
        dismiss(topic);
        run();
      }),
    );
  }
  buttons.append(button('Dismiss', () => dismiss(topic)));
  notice.append(heading, element('p', message), buttons);
  byId('notices', HTMLElement).append(notice);
}

/** From now on, shows uncaught errors as notices. */
export function startNotices(): void {
  addEventListener('error', ({ error, message }) => showNotice('page', error ?? message));
  addEventListener('unhandledrejection', ({ reason }) => showNotice('page', reason));
}

function describe(error: unknown): { code: string; message: string } {
  if (error instanceof DINOv2Error) return { code: error.code, message: error.message };
  if (error instanceof Error || error instanceof DOMException)
    return { code: error.name, message: error.message };
  return { code: 'ERROR', message: String(error) };
}

function element(tag: string, text: string): HTMLElement {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
