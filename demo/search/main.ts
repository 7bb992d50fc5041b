/** Connects the controls of the search page with their actions. */
import { byId } from '../shared/dom.js';
import { choiceOfFiles } from '../shared/modelForm.js';
import { startModelLine } from '../shared/modelLine.js';
import { startShell } from '../shared/shell.js';
import { showUnsupported } from '../shared/unsupported.js';
import { exportSome, importCollection, isCollection, startAbout } from './about.js';
import { add, offerToGoOn, startAdding, startNext } from './adding.js';
import { address, startAddress } from './address.js';
import { collection, openCollection, startCollection, usableModel } from './collection.js';
import { startFailures } from './failures.js';
import { startFirst } from './first.js';
import { model, whenModel } from './model.js';
import { startModelBar } from './modelBar.js';
import { removePhotographs } from './removal.js';
import { applySearch, forgetQuery, openFile, openItem, startSearching } from './searching.js';
import { startSelection } from './selection.js';
import { applyView, showCollection, startViews } from './views.js';
import { startWays } from './ways.js';

startShell('../');
startModelLine(model);
startAddress((given) => {
  applyView(given);
  applySearch(given);
});
startAbout();
startModelBar();
startFailures();
startSelection({ remove: (ids) => void removePhotographs(ids), save: (ids) => void exportSome(ids) });
startViews(openItem);
startSearching();
startAdding();
startFirst((photographs) => add(photographs, undefined, photographs.length));
startCollection((index) => {
  forgetQuery();
  showCollection(index);
});
startWays({
  onAdd: (source, photographs) => add(source, undefined, photographs),
  onSearch: (photograph) => openFile(photograph, photograph.name),
  onImport: (file) => void importCollection(file),
  onSafetensors: (checkpoint) =>
    void isCollection(checkpoint.file).then(
      (exported) =>
        void (exported ? importCollection(checkpoint.file) : model.load(choiceOfFiles(checkpoint))),
    ),
  canSearch: () => (collection()?.size ?? 0) > 0 && usableModel() !== undefined,
});
for (const button of document.querySelectorAll<HTMLButtonElement>('.bar .icon'))
  button.addEventListener('click', () => button.closest('.bar')!.toggleAttribute('hidden', true));
whenModel(() => void startNext());
await openCollection();
applyView(address());
await offerToGoOn(collection());
byId('main', HTMLElement).setAttribute('aria-busy', 'false');
if (address().q !== undefined) applySearch(address());
const support = await model.start({ without: 'nothing' });
if (!support.ok) showUnsupported(support);
