/** The line that says what the page shows or has just done. */
import { setText } from '../shared/dom.js';

export function setStatus(message: string): void {
  setText('status', message);
}
