/** The row of tabs. Arrow keys move between them, as in the tabs pattern of the ARIA practices. */
import { byId } from '../shared/dom.js';
import { tabs, type TabName } from './address.js';

const buttonOf = (tab: TabName): HTMLButtonElement => byId(`tab-${tab}`, HTMLButtonElement);

/** Marks a tab as chosen, and shows its options. */
export function showTab(tab: TabName): void {
  for (const each of tabs) {
    buttonOf(each).setAttribute('aria-selected', String(each === tab));
    buttonOf(each).tabIndex = each === tab ? 0 : -1;
  }
  byId('panel', HTMLElement).setAttribute('aria-labelledby', `tab-${tab}`);
  for (const options of document.querySelectorAll<HTMLElement>('[data-tab]'))
    options.hidden = options.dataset['tab'] !== tab;
}

export function startTabs(onTab: (tab: TabName) => void): void {
  const choose = (tab: TabName): void => {
    showTab(tab);
    onTab(tab);
  };
  for (const [i, tab] of tabs.entries()) {
    buttonOf(tab).addEventListener('click', () => choose(tab));
    buttonOf(tab).addEventListener('keydown', ({ key }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      const next = { Home: tabs[0], End: tabs.at(-1) }[key] ?? (step && tabs.at((i + step) % tabs.length));
      if (!next) return;
      buttonOf(next).focus();
      choose(next);
    });
  }
}
