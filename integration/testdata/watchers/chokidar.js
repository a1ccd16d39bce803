// Print the name and value of each file in a directory that chokidar says has changed. By itself chokidar drops what comes within
// 50 ms after a change, the last one of a burst too, on any file system: with awaitWriteFinish it tells of it when all is quiet.
const fs = require('fs');
const path = require('path');
const chokidar = require('chokidar');
chokidar.watch(process.argv[2], {awaitWriteFinish: {stabilityThreshold: 100, pollInterval: 20}})
  .on('change', file => fs.writeSync(1, path.basename(file) + ' ' + fs.readFileSync(file) + '\n'))
  .on('ready', () => console.log('ready'));
