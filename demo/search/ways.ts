/**
 * Buttons, drops and pastes that bring files into the page. The zone in which a photograph is dropped decides
 * whether it is added or used as a query.
 */
import { droppedFiles, type IngestSource } from '../../src/search.js';
import { byId } from '../dom.js';
import { checkpointAmong, type CheckpointFiles } from '../state.js';
import { showNotice } from '../notices.js';

export interface Ways {
  onAdd(source: IngestSource): void;
  onSearch(photograph: File): void;
  /** Handles a file with weights or an exported collection. */
  onSafetensors(checkpoint: CheckpointFiles): void;
  onImport(file: File): void;
  /** True if searching with a photograph is possible. */
  canSearch(): boolean;
}

/** Chromium's folder picker. The page can use its handles again on later visits. */
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

  const folder = onChosen('folder-input', (chosen) => ways.onAdd(chosen));
  const photographs = onChosen('files-input', (chosen) => ways.onAdd(chosen));
  const search = onChosen('search-input', ([photograph]) => ways.onSearch(photograph!));
  const exported = onChosen('import-file', ([file]) => ways.onImport(file!));
  const weights = onChosen('weights-file', (chosen) => takeSafetensors(chosen, ways));
  const click = (id: string, run: () => void): void =>
    byId(id, HTMLButtonElement).addEventListener('click', run);
  click('add-files', () => photographs.click());
  click('search-file', () => search.click());
  click('import', () => exported.click());
  click('choose-weights', () => weights.click());
  click('add-folder', () => void pickFolder(folder, ways));
  startDrops(ways);
  addEventListener('paste', ({ clipboardData }) => {
    const [photograph] = [...(clipboardData?.files ?? [])];
    if (!photograph) return;
    if (ways.canSearch()) ways.onSearch(photograph);
    else ways.onAdd([photograph]);
  });
}

async function pickFolder(fallback: HTMLInputElement, ways: Ways): Promise<void> {
  const picker = (globalThis as { showDirectoryPicker?: Picker }).showDirectoryPicker;
  if (!picker) return fallback.click();
  try {
    ways.onAdd(await picker({ id: 'photographs', mode: 'read' }));
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') return; // the visitor closed the dialog
    showNotice('adding', error);
  }
}

/**
 * Handles weights and exported collections among the files. Returns true if the files contain weights or a
 * collection.
 */
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
   * A single photograph can also be used as a query: then the right half of the page is the zone for
   * searching.
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
    else ways.onAdd(droppedFiles(event.dataTransfer.items));
  });
}
