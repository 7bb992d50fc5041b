/** The button that chooses the colours of the pages: as the system, light or dark. */
import { byId } from './dom.js';
import { recall, remember } from './storage.js';

const KEY = 'theme';
const themes = ['system', 'light', 'dark'] as const;
type Theme = (typeof themes)[number];

const names: Readonly<Record<Theme, string>> = { system: 'as the system', light: 'light', dark: 'dark' };

export function startTheme(): void {
  const toggle = byId('theme', HTMLButtonElement);
  const stored = recall(KEY);
  let theme: Theme = themes.find((each) => each === stored) ?? 'system';
  const show = (): void => {
    if (theme === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
    toggle.dataset['theme'] = theme;
    toggle.title = `Colours: ${names[theme]}`;
    toggle.setAttribute('aria-label', toggle.title);
  };
  show();
  toggle.addEventListener('click', () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length]!;
    show();
    remember(KEY, theme === 'system' ? undefined : theme);
  });
}
