/**
 * The ways in which files come into the search page: buttons, drop and paste. The half of the page on which a
 * photograph is dropped decides whether it is added to the collection or searched for.
 */
import { droppedFiles, type IngestSource } from '../../src/search.js';
import { byId } from '../shared/dom.js';
import { checkpointAmong, type CheckpointFiles } from '../shared/modelChoice.js';
import { showError } from '../shared/toasts.js';

export interface Ways {
  /** @param photographs number of photographs in the source; undefined if it contains folders */
  onAdd(source: IngestSource, photographs?: number): void;
  onSearch(photograph: File): void;
  /** Handles a file with weights or an exported collection. */
  onSafetensors(checkpoint: CheckpointFiles): void;
  onImport(file: File): void;
  /** True if it is possible at the moment to search with a photograph. */
  canSearch(): boolean;
}

/** Chromium's folder picker. The page can use the folder handles that it returns on later visits too. */
type Picker = (options: { id: string; mode: 'read' }) => Promise<FileSystemDirectoryHandle>;

export function startWays(ways: Ways): void {
  const files = ({ files: chosen }: HTMLInputElement): File[] => [...(chosen ?? [])];
  const onChosen = (id: string, take: (chosen: File[]) => void): HTMLInputElement => {
    const input = byId(id, HTMLInputElement);
    input.addEventListener('change', () => {
      const chosen = files(input);
      input.value = ''; // so that the same file can be chosen again
      if (chosen.length > 0) take(chosen);
    });
    return input;
  };

  const folder = onChosen('folder-input', (chosen) => ways.onAdd(chosen, chosen.length));
  const photographs = onChosen('files-input', (chosen) => ways.onAdd(chosen, chosen.length));
  const search = onChosen('search-input', ([photograph]) => ways.onSearch(photograph!));
  const exported = onChosen('import-file', ([file]) => ways.onImport(file!));
  const click = (id: string, run: () => void): void =>
    byId(id, HTMLButtonElement).addEventListener('click', run);
  for (const id of ['add-files', 'first-files']) click(id, () => photographs.click());
  for (const id of ['search-file', 'first-search']) click(id, () => search.click());
  for (const id of ['import', 'first-import']) click(id, () => exported.click());
  for (const id of ['add-folder', 'first-folder']) {
    click(id, () => void pickFolder(folder, ways));
    // Browsers on phones may have no way to choose a folder.
    byId(id, HTMLElement).hidden = !('showDirectoryPicker' in globalThis || 'webkitdirectory' in folder);
  }
  startDrops(ways);
  addEventListener('paste', ({ clipboardData }) => {
    const [photograph] = [...(clipboardData?.files ?? [])];
    if (!photograph) return;
    if (ways.canSearch()) ways.onSearch(photograph);
    else ways.onAdd([photograph], 1);
  });
}

async function pickFolder(fallback: HTMLInputElement, ways: Ways): Promise<void> {
  const picker = (globalThis as { showDirectoryPicker?: Picker }).showDirectoryPicker;
  if (!picker) return fallback.click();
  try {
    ways.onAdd(await picker({ id: 'photographs', mode: 'read' }));
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return; // the visitor closed the dialog
    showError('adding', 'The folder could not be opened.', error);
  }
}

/** Handles the weights and exported collections among the files. Returns true if there are any such files. */
function takeSafetensors(files: readonly File[], ways: Ways): boolean {
  const checkpoint = checkpointAmong(files);
  if (checkpoint) ways.onSafetensors(checkpoint);
  return checkpoint !== undefined;
}

function startDrops(ways: Ways): void {
  const drop = byId('drop', HTMLElement);
  const zones = [...drop.querySelectorAll<HTMLElement>('[data-zone]')];
  const hasFiles = ({ dataTransfer }: DragEvent): boolean => dataTransfer?.types.includes('Files') ?? false;
  /**
   * True if dropped files start a search: a single photograph was dropped in the right-hand half of the page.
   * All other dropped photographs are added to the collection.
   */
  const forSearch = ({ clientX, dataTransfer }: DragEvent): boolean =>
    !drop.classList.contains('single') && dataTransfer?.items.length === 1 && clientX > innerWidth / 2;

  addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.hidden = false;
    drop.classList.toggle('single', event.dataTransfer?.items.length !== 1 || !ways.canSearch());
    for (const zone of zones) {
      zone.hidden = zone.dataset['zone'] === 'search' && drop.classList.contains('single');
      zone.classList.toggle('over', (zone.dataset['zone'] === 'search') === forSearch(event));
    }
  });
  addEventListener('dragleave', ({ relatedTarget }) => {
    if (relatedTarget === null) drop.hidden = true; // the pointer left the window
  });
  addEventListener('drop', (event) => {
    const search = !drop.hidden && forSearch(event);
    drop.hidden = true;
    if (!hasFiles(event) || !event.dataTransfer) return;
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    if (takeSafetensors(files, ways)) return;
    if (search && files[0] && files[0].size > 0) ways.onSearch(files[0]);
    else {
      const { items } = event.dataTransfer;
      const hasFolder = [...items].some((item) => item.webkitGetAsEntry()?.isDirectory === true);
      ways.onAdd(droppedFiles(items), hasFolder ? undefined : files.length);
    }
  });
}
