// Print the name and value of each file in a directory that fs.watch says has changed.
const fs = require('fs');
const dir = process.argv[2];
fs.watch(dir, (event, name) => fs.writeSync(1, name + ' ' + fs.readFileSync(dir + '/' + name) + '\n'));
console.log('ready');
