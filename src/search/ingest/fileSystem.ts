/** Types of the File System Access API that Chromium implements but TypeScript's DOM types lack. */

export type PermissionMode = 'read' | 'readwrite';

/**
 * A file system handle with the methods that query and request permission. After a restart of the browser,
 * the permission is `prompt` until the visitor grants it again, which takes a click.
 */
export type AskableHandle = FileSystemHandle & {
  queryPermission?(descriptor: { mode: PermissionMode }): Promise<PermissionState>;
  requestPermission?(descriptor: { mode: PermissionMode }): Promise<PermissionState>;
};

export type DroppedItem = DataTransferItem & { getAsFileSystemHandle?(): Promise<FileSystemHandle | null> };

export const isDirectory = (handle: FileSystemHandle): handle is FileSystemDirectoryHandle =>
  handle.kind === 'directory';
export const isFile = (handle: FileSystemHandle): handle is FileSystemFileHandle => handle.kind === 'file';

/**
 * True if a value is a file system handle. Tests the value's members and not its class, because a handle can
 * come from another window.
 */
export const isHandle = (value: unknown): value is FileSystemHandle =>
  typeof value === 'object' && value !== null && 'kind' in value && 'isSameEntry' in value;
