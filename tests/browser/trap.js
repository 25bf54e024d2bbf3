// Run before the scripts of each page: notes what a script that was smuggled in would do.
window.__trapped = [];
for (const name of ['alert', 'confirm', 'prompt', 'print', 'open']) {
  window[name] = (...all) => {
    window.__trapped.push(`${name}(${all.join(', ')})`);
    return null;
  };
}
document.addEventListener('securitypolicyviolation', event =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample} in ${event.sourceFile}`));
