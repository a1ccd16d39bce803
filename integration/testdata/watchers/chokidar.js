// Print the name and value of each file in a directory that chokidar says has changed.
const fs = require('fs');
const path = require('path');
const chokidar = require('chokidar');
chokidar.watch(process.argv[2]).on('change', file => fs.writeSync(1, path.basename(file) + ' ' + fs.readFileSync(file) + '\n'))
  .on('ready', () => console.log('ready'));
