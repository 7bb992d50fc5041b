/** Light or dark colours of the page: by the system's setting, unless the visitor chooses. */
import { byId } from './dom.js';

const KEY = 'theme';

export function startTheme(): void {
  const toggle = byId('theme', HTMLButtonElement);
  const system = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  const isDark = (): boolean => (root.dataset['theme'] ? root.dataset['theme'] === 'dark' : system.matches);
  const show = (): void => {
    toggle.textContent = isDark() ? 'Light' : 'Dark';
    toggle.setAttribute('aria-label', `${toggle.textContent} colours`);
  };

  const kept = read();
  if (kept === 'light' || kept === 'dark') root.dataset['theme'] = kept;
  show();
  system.addEventListener('change', show);
  toggle.addEventListener('click', () => {
    root.dataset['theme'] = isDark() ? 'light' : 'dark';
    show();
    try {
      localStorage.setItem(KEY, root.dataset['theme']);
    } catch {
      // If the browser allows this page no storage, the choice lasts until the page is closed.
    }
  });
}

function read(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
