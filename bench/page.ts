/** The benchmark page, which runs the measurements of `npm run bench` in a browser. */
import type { Dtype } from '../src/weights/precision.js';
import type { ModelSize } from '../src/model/config.js';
import { measure, toMarkdown, type Report } from './measure.js';

const get = <T extends HTMLElement>(id: string): T => {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no element #${id}.`);
  return element as T;
};
const form = get<HTMLFormElement>('options');
const start = get<HTMLButtonElement>('start');
const status = get('status');
let reports: ReadonlyMap<string, Report> | undefined;

function say(text: string, failed = false): void {
  status.textContent = text;
  status.classList.toggle('error', failed);
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  void run();
});
get('copy-markdown').addEventListener(
  'click',
  () => void copy('Markdown', reports ? toMarkdown(reports) : ''),
);
get('copy-json').addEventListener(
  'click',
  () => void copy('JSON', JSON.stringify(reports?.get('stock'), null, 2)),
);

async function run(): Promise<void> {
  const data = new FormData(form);
  const chosen = (name: string): string[] => data.getAll(name).map(String);
  const [models, px, dtypes] = [chosen('model'), chosen('px').map(Number), chosen('dtype')];
  if (models.length === 0 || px.length === 0 || dtypes.length === 0) {
    say('Choose at least one model, one size and one kind of weights.', true);
    return;
  }
  start.disabled = true;
  try {
    const options = {
      models: models as ModelSize[],
      px,
      dtypes: dtypes as Dtype[],
      seconds: Number(data.get('seconds')),
    };
    reports = new Map([
      ['stock', await measure(options, navigator.userAgent, (news) => say(`Measuring: ${news} …`))],
    ]);
    get('tables').replaceChildren(...toMarkdown(reports).split('\n\n').map(elementOf));
    get('results').hidden = false;
    say('Done.');
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), true);
  } finally {
    start.disabled = false;
  }
}

async function copy(what: string, text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} is in the clipboard.`);
  } catch (error) {
    say(`${what} could not be copied: ${String(error)}`, true);
  }
}

/** Converts a paragraph or table of Markdown to an element. */
function elementOf(markdown: string): HTMLElement {
  if (!markdown.startsWith('|')) {
    const paragraph = document.createElement('p');
    paragraph.textContent = markdown;
    return paragraph;
  }
  const [head, , ...rows] = markdown.split('\n').map((line) => line.slice(2, -2).split(' | '));
  const table = document.createElement('table');
  const addRow = (into: HTMLTableSectionElement, cells: readonly string[], tag: 'th' | 'td'): void => {
    const row = into.insertRow();
    for (const text of cells)
      row.append(Object.assign(document.createElement(tag), { textContent: text.trim() }));
  };
  addRow(table.createTHead(), head!, 'th');
  const body = table.createTBody();
  for (const row of rows) addRow(body, row, 'td');
  const scroll = document.createElement('div');
  scroll.className = 'scroll';
  scroll.tabIndex = 0;
  scroll.append(table);
  return scroll;
}
