/** Connects the controls of the search page with their actions. */
import { byId } from '../dom.js';
import { choiceOfFiles, startForm } from '../form.js';
import { startNotices } from '../notices.js';
import { startTheme } from '../theme.js';
import { add, next, offerToGoOn, startAdding } from './adding.js';
import {
  collection,
  deleteCollection,
  exportCollection,
  importCollection,
  isCollection,
  openCollection,
  startCollection,
  usableModel,
} from './collection.js';
import { cancelLoad, currentChoice, load, lostBy, startModel } from './model.js';
import { startOffline, trustOwnScripts } from './offline.js';
import { closeQuery, openFile, openItem, startSearching } from './searching.js';
import { showCollection, startViews } from './views.js';
import { startWays } from './ways.js';

const click = (id: string, run: () => void): void =>
  byId(id, HTMLButtonElement).addEventListener('click', run);
const sure = byId('sure', HTMLDialogElement);

trustOwnScripts();
startNotices();
startTheme();
startForm((choice) => void load(choice));
startViews(openItem);
startSearching(lostBy);
startAdding(lostBy);
startCollection((index) => {
  closeQuery();
  showCollection(index);
});
startWays({
  onAdd: add,
  onSearch: (photograph) => openFile(photograph, photograph.name),
  onImport: (file) => void importCollection(file),
  onSafetensors: (checkpoint) =>
    void isCollection(checkpoint.file).then(
      (exported) => void (exported ? importCollection(checkpoint.file) : load(choiceOfFiles(checkpoint))),
    ),
  canSearch: () => (collection()?.size ?? 0) > 0 && usableModel() !== undefined,
});
click('cancel', cancelLoad);
click('load-trained', () => void load({ ...currentChoice(), weights: 'hub' }));
click('export', () => void exportCollection('safetensors'));
click('export-npy', () => void exportCollection('npy'));
click('delete', () => sure.showModal());
click('sure-no', () => sure.close());
click('sure-yes', () => {
  sure.close();
  void deleteCollection();
});
void startOffline();
await openCollection();
showCollection(collection());
await offerToGoOn(collection());
byId('main', HTMLElement).setAttribute('aria-busy', 'false');
await startModel(() => void next());
