-- What is told to whom: changes by inbox.
local messages = {}

local function note(inbox, change, id, at)
    local list = messages[inbox]
    if not list then
        list = {}
        messages[inbox] = list
    end
    list[#list + 1] = {change, id, at}
end

-- One message for each inbox, however many changes it holds.
local function publish()
    for inbox, changes in pairs(messages) do redis.call('PUBLISH', inbox, cjson.encode(changes)) end
end
