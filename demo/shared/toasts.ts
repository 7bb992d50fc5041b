/**
 * Messages at the bottom of the window, where they are visible wherever the page is scrolled. A message says
 * which action failed, and stays until the visitor dismisses it, the action succeeds, or a newer message about
 * the same action replaces it.
 */
import { DINOv2Error } from '../../src/index.js';
import { button, byId } from './dom.js';

/** A button of a message. */
export interface ToastAction {
  readonly text: string;
  readonly run: () => void;
}

/** Removes the message about an action. */
export function dismiss(topic: string): void {
  document.querySelector(`.toast[data-topic="${topic}"]`)?.remove();
}

/**
 * Shows that an action failed.
 * @param topic a name for the action; only the newest message of a topic is shown
 * @param title a sentence that names the action, such as "The picture could not be opened."
 */
export function showError(
  topic: string,
  title: string,
  error: unknown,
  ...actions: readonly ToastAction[]
): void {
  const { code, message } = describe(error);
  const toast = show(topic, title, message, actions);
  toast.classList.add('error');
  const name = document.createElement('code');
  name.textContent = code;
  toast.querySelector('strong')!.after(' ', name);
}

/** Shows a message that is not an error. */
export function showMessage(topic: string, title: string, text: string, ...actions: ToastAction[]): void {
  show(topic, title, text, actions);
}

function show(topic: string, title: string, text: string, actions: readonly ToastAction[]): HTMLElement {
  dismiss(topic);
  const toast = document.createElement('div');
  toast.className = 'toast';
  toast.dataset['topic'] = topic;
  const words = document.createElement('div');
  const heading = document.createElement('p');
  heading.append(Object.assign(document.createElement('strong'), { textContent: title }));
  words.append(heading, Object.assign(document.createElement('p'), { textContent: text }));
  const buttons = document.createElement('div');
  buttons.className = 'row';
  for (const action of actions)
    buttons.append(
      button(action.text, () => {
        dismiss(topic);
        action.run();
      }),
    );
  buttons.append(button('Dismiss', () => dismiss(topic)));
  toast.append(words, buttons);
  byId('toasts', HTMLElement).append(toast);
  return toast;
}

/** Shows uncaught errors as messages from now on. */
export function startToasts(): void {
  const title = 'Something on this page failed.';
  addEventListener('error', ({ error, message }) => showError('page', title, error ?? message));
  addEventListener('unhandledrejection', ({ reason }) => showError('page', title, reason));
}

function describe(error: unknown): { code: string; message: string } {
  if (error instanceof DINOv2Error) return { code: error.code, message: error.message };
  if (error instanceof Error || error instanceof DOMException)
    return { code: error.name, message: error.message };
  return { code: 'ERROR', message: String(error) };
}
