/** Parts of the File System Access API that Chromium has and that TypeScript's types of the DOM leave out. */

export type PermissionMode = 'read' | 'readwrite';

/**
 * A handle with its permissions: `prompt` after every start of the browser, until the visitor is asked again,
 * which takes a click.
 */
export type AskableHandle = FileSystemHandle & {
  queryPermission?(descriptor: { mode: PermissionMode }): Promise<PermissionState>;
  requestPermission?(descriptor: { mode: PermissionMode }): Promise<PermissionState>;
};

export type DroppedItem = DataTransferItem & { getAsFileSystemHandle?(): Promise<FileSystemHandle | null> };

export const isDirectory = (handle: FileSystemHandle): handle is FileSystemDirectoryHandle =>
  handle.kind === 'directory';
export const isFile = (handle: FileSystemHandle): handle is FileSystemFileHandle => handle.kind === 'file';

/** Told by its shape, not its class: handles of other windows are handles too. */
export const isHandle = (value: unknown): value is FileSystemHandle =>
  typeof value === 'object' && value !== null && 'kind' in value && 'isSameEntry' in value;
