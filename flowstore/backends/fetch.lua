-- ARGV: ids. Returns header and head of each, without its body; false where there is no record.
local found = {}
for number, id in ipairs(ARGV) do found[number] = without_body(id) end
return found
