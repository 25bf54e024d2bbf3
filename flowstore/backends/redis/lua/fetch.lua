-- ARGV: ids. Returns each record without its body; false where there is none.
local found = {}
for number, id in ipairs(ARGV) do
    local value = try('GET', record_key(id))
    found[number] = value and without_body(value) or false
end
return found
