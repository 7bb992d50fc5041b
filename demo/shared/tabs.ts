/** A row of tabs. Arrow keys move between them, as in the tabs pattern of the ARIA practices. */
import { byId } from './dom.js';

export interface Tabs<Name extends string> {
  /** Marks a tab as chosen, and shows the elements with its name in `data-tab`. */
  show(tab: Name): void;
}

/**
 * Starts the tabs of a page: the buttons `#tab-NAME` and the panel `#panel`.
 * @param onTab called with the tab that the visitor chooses
 */
export function startTabs<Name extends string>(
  names: readonly Name[],
  onTab: (tab: Name) => void,
): Tabs<Name> {
  const buttonOf = (tab: Name): HTMLButtonElement => byId(`tab-${tab}`, HTMLButtonElement);
  const show = (tab: Name): void => {
    for (const each of names) {
      buttonOf(each).setAttribute('aria-selected', String(each === tab));
      buttonOf(each).tabIndex = each === tab ? 0 : -1;
    }
    byId('panel', HTMLElement).setAttribute('aria-labelledby', `tab-${tab}`);
    for (const options of document.querySelectorAll<HTMLElement>('[data-tab]'))
      options.hidden = options.dataset['tab'] !== tab;
  };
  const choose = (tab: Name): void => {
    show(tab);
    onTab(tab);
  };
  for (const [i, tab] of names.entries()) {
    buttonOf(tab).addEventListener('click', () => choose(tab));
    buttonOf(tab).addEventListener('keydown', ({ key }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      const next =
        { Home: names[0], End: names.at(-1) }[key] ?? (step && names.at((i + step) % names.length));
      if (!next) return;
      buttonOf(next).focus();
      choose(next);
    });
  }
  return { show };
}
